-- What a SKU sold after refunds, the last 30 days. Change the shop, or make it a filter of the dashboard.
SELECT i.sku_code, max(i.title) AS title, sum(i.net_quantity) AS pieces, sum(i.net_payment) AS payment,
       round(1.0 * sum(i.refunded_quantity) / nullif(sum(i.quantity), 0), 3) AS share_refunded
FROM bi.orders o
JOIN bi.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
WHERE o.shop_id = 'my-shop'
  AND o.paid_at >= now() - interval '30 days'
GROUP BY i.sku_code
ORDER BY payment DESC
LIMIT 100;
